"""What the tables of the paper compare with: models of ratings, of pairs, and of explanations, without prompts."""
