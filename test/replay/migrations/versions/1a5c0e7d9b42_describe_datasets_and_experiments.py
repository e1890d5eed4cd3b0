"""Describe datasets and experiments."""

import sqlalchemy as sa
from alembic import op

revision = "1a5c0e7d9b42"
down_revision = None

COLUMNS = {
    "datasets": ["methods", "summary", "results", "conclusions", "dataset_source_type", "data_origin"],
    "experiments": ["targets", "modality", "stage", "biomarker_role", "treatment_arms"],
}


def upgrade():
    for table, names in COLUMNS.items():
        for name in names:
            op.add_column(table, sa.Column(name, sa.Text))


def downgrade():
    for table, names in COLUMNS.items():
        for name in names:
            op.drop_column(table, name)
