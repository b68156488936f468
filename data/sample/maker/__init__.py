"""The maker of the bundled sample scene: a small ray tracer, a still life and a pretend camera."""
