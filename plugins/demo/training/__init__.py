"""How the demo model is made: facts, conversations, tokenizer, training, evaluation.

Everything that the model knows is written in this folder; nothing is downloaded. From ``plugins/demo``::

    python -m training.train       # writes hyprstream_demo/model/
    python -m training.evaluate    # asks the fixed questions and prints the score
"""
