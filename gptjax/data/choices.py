"""Names of how data are read and laid out, which configurations and command lines offer."""

FITS = ("crop", "pad", "stretch")  # how a picture becomes a square
FORMS = ("classification", "entailment", "similarity", "choice")  # of a labelled task
PACKINGS = ("concatenate", "best_fit", "document")  # how documents become rows
