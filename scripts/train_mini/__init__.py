"""How weights/save-mini is trained: `python -m scripts.train_mini ../shared/training-data`."""
