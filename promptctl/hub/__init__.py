"""A hub of models: contexts that people share there, written and read through huggingface_hub."""
