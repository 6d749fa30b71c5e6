"""From published files to packs and to the device."""
