"""The verbs of the command line as Python functions: paths and options in, a frozen result out."""
