"""Training a network on a folder of volumes.

Used elsewhere: `run.config_of_run` and `run.train_folder`, `recipe.read_recipe`.
"""
