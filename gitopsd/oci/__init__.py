"""Words of the Open Container Initiative that both programs share: names, digests, manifests, the registry protocol.  [pure]"""
