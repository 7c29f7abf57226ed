"""Apart from the converter, so that the serving side can name the version without importing it."""

#: Raised with every change that makes the graph of an unchanged checkpoint different.
CONVERTER_VERSION = 3
