"""Running the graphs of a package on this CPU: threads, options, and the only module that imports openvino."""
