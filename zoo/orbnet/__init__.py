"""OrbNet Denali: DFT energies from GFN1-xTB mean-field features."""
