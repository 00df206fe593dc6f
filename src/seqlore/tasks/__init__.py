"""Five families of tasks on one split: rating, sequential, explanation, review, direct."""
