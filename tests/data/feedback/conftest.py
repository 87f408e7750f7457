"""Places of stores: SQLite, and PostgreSQL where GPTJAX_POSTGRESQL names a database to write in."""

import os
import uuid

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request, tmp_path):
    """Of a store that is not there yet; in PostgreSQL a schema of its own."""
    if request.param == "sqlite":
        yield str(tmp_path / "made" / "feedback.db")
        return
    if not (url := os.environ.get("GPTJAX_POSTGRESQL")):
        pytest.skip("GPTJAX_POSTGRESQL names no database: postgresql://USER@HOST/DATABASE")
    from sqlalchemy import create_engine, text

    schema = f"test_{uuid.uuid4().hex}"
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield f"{url}?options=-csearch_path%3D{schema}"
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()
