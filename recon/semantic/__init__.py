"""What parts a reconstruction has: photos' features on its points, places carried over."""
