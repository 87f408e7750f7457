import pytest

from gptjax.registry import Registry, unknown_name


def colours() -> Registry[int]:
    registry = Registry[int]("colour")
    registry.register("crimson")(1)
    registry.register("azure")(2)
    return registry


def test_names_keep_the_order_of_registration():
    registry = colours()
    assert registry.names() == list(registry) == ["crimson", "azure"]
    assert registry.get("azure") == 2
    assert "azure" in registry and "green" not in registry


def test_register_hands_back_what_it_decorates():
    registry = Registry[type]("shape")

    @registry.register("square")
    class Square:
        pass

    assert registry.get("square") is Square


def test_a_taken_name_is_refused_and_the_first_entry_stays():
    registry = colours()
    with pytest.raises(ValueError, match="colour 'azure' is registered twice"):
        registry.register("azure")(3)
    assert registry.get("azure") == 2


def test_an_unknown_name_is_answered_with_the_nearest_and_all_choices():
    with pytest.raises(ValueError) as caught:
        colours().get("crimsom")
    assert str(caught.value) == (
        "unknown colour 'crimsom' (did you mean 'crimson'?); expected one of: crimson, azure"
    )


def test_nothing_near_gives_no_hint():
    message = str(unknown_name("colour", "xyzzy", ["crimson", "azure"]))
    assert message == "unknown colour 'xyzzy'; expected one of: crimson, azure"


def test_registries_are_separate():
    with pytest.raises(ValueError, match="unknown flavour 'azure'"):
        Registry[int]("flavour").get("azure")
