"""The Dockerfile language and .dockerignore, for the engine's builder and for the controller.  [pure]"""
