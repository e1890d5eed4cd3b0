"""The application's tables as its running version knows them: before the migrations."""

from sqlalchemy import Column, ForeignKey, Integer, Text
from sqlalchemy.orm import declarative_base, relationship

Base = declarative_base()


class Dataset(Base):
    __tablename__ = "datasets"
    id = Column(Integer, primary_key=True)
    name = Column(Text, nullable=False)
    experiments = relationship("Experiment", back_populates="dataset")


class Experiment(Base):
    __tablename__ = "experiments"
    id = Column(Integer, primary_key=True)
    dataset_id = Column(ForeignKey("datasets.id"), nullable=False)
    name = Column(Text, nullable=False)
    dataset = relationship("Dataset", back_populates="experiments")
    signatures = relationship("Signature", back_populates="experiment")


class Signature(Base):
    __tablename__ = "signatures"
    id = Column(Integer, primary_key=True)
    experiment_id = Column(ForeignKey("experiments.id"), nullable=False)
    name = Column(Text, nullable=False)
    experiment = relationship("Experiment", back_populates="signatures")
    features = relationship("Feature", back_populates="signature")


class Feature(Base):
    __tablename__ = "features"
    id = Column(Integer, primary_key=True)
    signature_id = Column(ForeignKey("signatures.id"), nullable=False)
    name = Column(Text, nullable=False)
    signature = relationship("Signature", back_populates="features")
