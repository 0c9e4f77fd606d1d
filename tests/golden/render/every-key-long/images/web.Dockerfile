FROM busybox:stable
