"""Several processes, one a device, that train one model: started, watched, and started again where one dies."""
