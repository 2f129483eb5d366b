"""Load: traffic as a spec names it, services held to targets, and the highest rate that meets them."""
