"""CLIP: backbones by name, their text towers, templates and vocabularies."""
