import builtins
import sys

import pytest

from gptjax.data import CORPORA
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


def test_a_module_is_imported_when_a_name_of_its_is_asked_for(tmp_path, monkeypatch):
    registry = Registry("late thing", {"late": "late_module"})
    (tmp_path / "late_module.py").write_text("import builtins\nbuiltins.late()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(builtins, "late", lambda: registry.register("late")(7), raising=False)
    assert registry.names() == ["late"] and "late" in registry
    assert "late_module" not in sys.modules
    assert registry.get("late") == 7
    monkeypatch.delitem(sys.modules, "late_module")


def test_every_corpus_is_where_its_registry_says():
    assert all(callable(CORPORA.get(name)) for name in CORPORA)
