if __name__ != "gan_tasks.apps":
    raise ImportError(f"this folder is the package gan_tasks.apps, not {__name__!r}: import it by that name")
