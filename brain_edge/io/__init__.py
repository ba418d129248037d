"""Files in and out: the only modules that know formats on disk.

Arrays and affines inside the library are (I, J, K) and RAS+ mm; whatever else a format uses is converted
here.
"""
