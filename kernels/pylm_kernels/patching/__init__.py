"""pylm_kernels' operations in models of transformers that exist: `patch` puts them in, `unpatch` takes them out."""
