(** Finite probability trees: a run of a stochastic method with finitely many
    outcomes.

    A node [Step B m p g next] chooses the batch size [B] first, then draws outcome
    [j < m] with probability [p j]; the gradient is then [g j] and the run goes on as
    [next j].  Everything at a node, including the decision to stop, may depend on the
    draws above it and on nothing below it: batch sizes are predictable and the number
    of steps is a stopping time by construction. *)

From Coq Require Import Reals Lra Lia List.
From BSTheory Require Import FiniteSums OneStep.
Local Open Scope R_scope.
Import ListNotations.

Definition vec := nat -> R.

Inductive tree : Type :=
| Stop : tree
| Step : forall (B : R) (m : nat) (p : nat -> R) (g : nat -> vec) (next : nat -> tree), tree.

(** One run: the batch size and the gradient of each step, first step first. *)
Definition path := list (R * vec).

(** The runs that a tree allows. *)
Fixpoint path_of (t : tree) (w : path) : Prop :=
  match t with
  | Stop => w = []
  | Step B m p g next =>
      exists j w', (j < m)%nat /\ path_of (next j) w' /\ w = (B, g j) :: w'
  end.

(** Total number of tokens of a run. *)
Fixpoint tokens (w : path) : R :=
  match w with
  | [] => 0
  | (B, _) :: w' => B + tokens w'
  end.

(** Expectation of a quantity [X] of the whole run. *)
Fixpoint E (t : tree) (X : path -> R) : R :=
  match t with
  | Stop => X []
  | Step B m p g next => mean m p (fun j => E (next j) (fun w => X ((B, g j) :: w)))
  end.

(** Every node carries a probability distribution. *)
Fixpoint probability (t : tree) : Prop :=
  match t with
  | Stop => True
  | Step B m p g next => distribution m p /\ forall j, (j < m)%nat -> probability (next j)
  end.

Lemma E_le t : probability t -> forall X Y,
  (forall w, path_of t w -> X w <= Y w) -> E t X <= E t Y.
Proof.
  induction t as [|B m p g next IH]; simpl; intros Hp X Y H.
  - apply H. reflexivity.
  - destruct Hp as [Hd Hp]. apply mean_le; [exact Hd|]. intros j Hj.
    apply IH; [apply Hp; exact Hj|]. intros w Hw. apply H. exists j, w. auto.
Qed.

Lemma E_ext t : forall X Y, (forall w, path_of t w -> X w = Y w) -> E t X = E t Y.
Proof.
  induction t as [|B m p g next IH]; simpl; intros X Y H.
  - apply H. reflexivity.
  - apply mean_ext. intros j Hj. apply IH. intros w Hw. apply H. exists j, w. auto.
Qed.

Lemma E_plus t : forall X Y, E t (fun w => X w + Y w) = E t X + E t Y.
Proof.
  induction t as [|B m p g next IH]; simpl; intros X Y; [reflexivity|].
  rewrite <- mean_plus. apply mean_ext. intros j _. apply IH.
Qed.

Lemma E_scal t a : forall X, E t (fun w => a * X w) = a * E t X.
Proof.
  induction t as [|B m p g next IH]; simpl; intros X; [reflexivity|].
  rewrite <- mean_scal. apply mean_ext. intros j _. apply IH.
Qed.

Lemma E_const t a : probability t -> E t (fun _ => a) = a.
Proof.
  induction t as [|B m p g next IH]; simpl; intros Hp; [reflexivity|].
  destruct Hp as [Hd Hp]. rewrite (mean_ext m p _ (fun _ => a)).
  - apply mean_const. exact Hd.
  - intros j Hj. apply IH. apply Hp. exact Hj.
Qed.

(** The tower property at any stopping time: [graft t s] runs [t] to its end and then,
    depending on the run [w] so far, the tree [s w]. *)
Fixpoint graft (t : tree) (s : path -> tree) : tree :=
  match t with
  | Stop => s []
  | Step B m p g next => Step B m p g (fun j => graft (next j) (fun w => s ((B, g j) :: w)))
  end.

Lemma E_tower t : forall s X,
  E (graft t s) X = E t (fun w => E (s w) (fun w' => X (w ++ w'))).
Proof.
  induction t as [|B m p g next IH]; simpl; intros s X; [reflexivity|].
  apply mean_ext. intros j _. rewrite IH. reflexivity.
Qed.
