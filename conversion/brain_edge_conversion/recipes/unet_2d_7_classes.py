"""The 2D U-Net of the study of synthetic slices with 7 classes: three compartments of the tumour and three tissues.

Foroozandeh, Eklund, "Synthesizing brain tumor images and annotations by combining progressive growing GAN and SPADE"
(arXiv 2009.05946), its segmentation network: one channel, T1w after contrast, divided by the greatest value of the
training set, less its mean; axial slices padded with zeros from 240 to 256; the network
(`brain_edge_conversion.networks.unet2d`); the most probable class; 155 slices put together again. No clean-up is
stated.
"""

from __future__ import annotations

from typing import Final

from brain_edge_conversion.recipes._synthetic_slices import unet_recipe

RECIPE: Final = unet_recipe(7)
