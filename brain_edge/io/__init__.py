"""Input and output files: the only modules that know formats on disk.

Arrays and affines inside the library are (I, J, K) and RAS+ mm. Other conventions of a format are converted here.
"""
