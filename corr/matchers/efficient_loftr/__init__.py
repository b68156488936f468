"""EfficientLoFTR: our own network after the paper, with the authors' weights.

Source: Wang et al., Efficient LoFTR: Semi-Dense Local Feature Matching with Sparse-Like Speed,
CVPR 2024.
"""

CONVENTIONS = ("official", "transformers")  # whose numbers the fine stage answers
