"""What an accuracy budget buys: cheaper settings of a package, tried, measured and chosen. Needs no PyTorch."""
