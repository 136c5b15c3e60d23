"""Train and measure the small vision-language model that ships with the package."""
