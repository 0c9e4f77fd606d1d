"""Words of the Open Container Initiative that both programs share: references, digests, manifests, platforms, the registry protocol.  [pure]"""
