"""How good a model's answers are. One file a subject; each measure is named with its convention.

`reference` compares an answer with the truth; `lpips` does so by a network's features; `niqe` looks at the answer
alone; `distribution` compares two sets of images by `features`, `fid` by those of the published Inception network;
`statistics` says what a difference is worth, `baselines` what an answer has to beat.
"""
