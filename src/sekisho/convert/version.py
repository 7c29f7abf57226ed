"""Apart from the converter, so that the serving side can name the version without importing it."""

#: Raised with every change that makes the graph of an unchanged checkpoint different.
CONVERTER_VERSION = 6

#: Raised with every change of how an int8 graph is made or judged.
INT8_VERSION = 3

#: Raised with every change of how an fp16 graph is made or judged.
HALF_VERSION = 1
