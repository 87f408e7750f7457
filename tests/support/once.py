"""What several tests need of one configuration is made once for them."""

import functools


def once(make):
    """`make` of a configuration and hashable arguments, called once for each."""
    made = {}

    @functools.wraps(make)
    def made_once(config, *arguments):
        key = (repr(config), *arguments)
        if key not in made:
            made[key] = make(config, *arguments)
        return made[key]

    return made_once
