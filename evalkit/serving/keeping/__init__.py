"""What caches share: keys that nothing crosses, values as entries, what these rest on, how they are dropped."""
