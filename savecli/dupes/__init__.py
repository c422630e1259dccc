"""Videos and scenes that the store holds more than once, found by what they show."""
