if __name__ != "gan_tasks.datasets":
    raise ImportError(f"this folder is the package gan_tasks.datasets, not {__name__!r}: import it by that name")
