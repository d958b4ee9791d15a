from tests.support.databases import clock, database_url, db, postgres_cluster

__all__ = ["clock", "database_url", "db", "postgres_cluster"]
