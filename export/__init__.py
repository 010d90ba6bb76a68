if __name__ != "gan_tasks.export":
    raise ImportError(f"this folder is the package gan_tasks.export, not {__name__!r}: import it by that name")
