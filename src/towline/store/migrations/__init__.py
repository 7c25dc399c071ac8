"""Alembic's folder: `env.py` and one module per version. Versions are never edited once released."""
