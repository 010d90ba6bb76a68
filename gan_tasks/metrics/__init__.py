"""Metrics of image quality, and the statistics and baselines to interpret them.

- `catalogue`: the names, units and conventions of all metrics.
- `reference`: L1, PSNR, SSIM and MS-SSIM between an output and its target; `masked_region`: the same in a mask.
- `lpips`: a distance between an output and its target in the features of a network.
- `niqe`: quality of an image without a target.
- `distribution`: distances between two sets of images in `features` of a network; `fid`: the same with the published
  Inception network.
- `statistics`: confidence intervals and tests for differences between models.
- `baselines`: simple methods without a network that a model has to outperform.
"""
