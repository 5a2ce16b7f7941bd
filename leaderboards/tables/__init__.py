"""x"""


def arguments(parser):
    pass
