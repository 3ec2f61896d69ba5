"""The learners, one file each: settings, and a function from image features to what was learned."""

# what `compare` knows; protocol.py says how
COMPARED = (
    "zero-shot",  # the template that was asked for
    "ensemble-7",  # CLIP's seven selected templates, and the set's own if another than the default is asked for
    "ensemble-80",  # all of CLIP's
    "linear-probe",  # logistic regression on image features of unit length
    "linear-probe-raw",  # the paper's: on image features as they leave the tower
    "coop",
    "coop-csc",  # class-specific
    "coop-anchor",  # held to the template (KgCoOp)
    "coop-average",  # the mean of late epochs
    "coop-blend",  # mixed with the template, as much as folds choose; half and half at one shot
    "clap",
)
