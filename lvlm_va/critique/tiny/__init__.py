"""The vision-language model that ships with the package, and how it is shown a segment."""
