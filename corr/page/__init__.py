"""What the report pages of all packages share: style, scripts, figures in words."""
