"""Images: their names, blobs and unpacked layers; pulled, pushed, loaded, saved, made. `images.Images` is the way in."""
