"""Trained heads over frozen features: networks, losses and the methods that train them."""
