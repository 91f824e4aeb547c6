"""attention_decode: public.py has the function, reference.py what it means, triton.py the kernel."""
