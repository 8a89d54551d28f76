"""The order of the tests: files that execute notebooks take minutes, so they come first and two workers end together."""


def pytest_collection_modifyitems(items):
    long = {item.path for item in items if item.get_closest_marker("notebooks")}
    items.sort(key=lambda item: item.path not in long)
