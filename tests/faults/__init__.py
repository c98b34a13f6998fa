"""The table of faults: each is made to happen, and the study ends with the bytes of a run that nothing disturbed.

Blocks sleep a little, by a distance from outside the package which also fails where a file beside it says so. Faults
are placed by what is stored or marked, not by the clock.
"""
