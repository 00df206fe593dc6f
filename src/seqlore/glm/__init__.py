"""RecSysLLM: a General Language Model that reads items and attributes as whole entities, and recommends by writing.

``model`` is the network, ``spans`` … ``positions`` the mechanism of Chu et al. 2023 (arXiv 2308.10837) in pure
functions, ``texts`` what tasks are written in, ``recsysllm`` the recommender.
"""
