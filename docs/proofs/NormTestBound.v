(** The bound for Adam under the coordinate-wise norm test, and a problem that meets its
    hypotheses. *)

From Coq Require Import Reals Lra Lia Psatz List FunctionalExtensionality.
From BSTheory Require Import FiniteSums Analysis OneStep Tree Adam Smooth NormTest.
Local Open Scope R_scope.
Import ListNotations.
Local Arguments pow : simpl never.

(** [sum_i G_i^2 / sqrt (beta2 v_i)], [sum_i sqrt (beta2 v_i)] and [sum_i |G_i|]. *)
Definition preconditioned (d : nat) (beta2 : R) (gradF : vec -> vec) (w v : vec) : R :=
  sum d (fun i => gradF w i ^ 2 / sqrt (beta2 * v i)).
Definition root_sum (d : nat) (beta2 : R) (w v : vec) : R := sum d (fun i => sqrt (beta2 * v i)).
Definition norm_1 (d : nat) (gradF : vec -> vec) (w v : vec) : R := sum d (fun i => Rabs (gradF w i)).

(** A sum over a run that starts with a known term. *)
Lemma E_run_sum alpha beta1 beta2 f w m v B k p g next :
  distribution k p -> (forall j, (j < k)%nat -> probability (next j)) ->
  E (Step B k p g next) (run_sum alpha beta1 beta2 f w m v)
  = f w v + mean k p (fun j =>
      let m' := m_step beta1 m (g j) in let v' := v_step beta2 v (g j) in
      E (next j) (run_sum alpha beta1 beta2 f (w_step alpha w m' v') m' v')).
Proof.
  intros Hd Hp. simpl E. rewrite <- (mean_const k p (f w v)) at 1 by exact Hd.
  rewrite <- mean_plus. apply mean_ext. intros j Hj. cbv zeta.
  rewrite E_plus, E_const by (apply Hp; exact Hj). reflexivity.
Qed.

Section Tree.
Context (d : nat) (alpha beta1 beta2 eta L nu Fstar : R) (F : vec -> R) (gradF : vec -> vec).
Context (gamma s q c0 kappa : R).
Context (Ha : 0 < alpha) (Hb1 : 0 <= beta1 < 1) (Hb2 : 0 < beta2 < 1) (HL : 0 <= L) (Hnu : 0 < nu).
Context (Hgamma : gamma * sqrt beta2 = beta1) (Hgamma1 : gamma < 1).
Context (Hs : s = 1 + eta ^ 2) (Hq : q = s / (1 - gamma ^ 2)).
Context (Hc0 : c0 = alpha * (1 - beta1) / (1 - gamma)).
Context (HC : q * (1 - sqrt beta2) <= 1 / 8).
Context (Hsm : smooth d L F gradF) (Hlip : lipschitz_gradient d L gradF).
Context (HF : forall x, Fstar <= F x).
Context (Hkappa : kappa = coef_old alpha L gamma + coef_abel alpha beta2 L nu q c0
                          + (kappa + coef_new alpha L gamma) * gamma).
Context (Hkappa0 : 0 <= kappa).
Context (Hclose : (kappa + coef_new alpha L gamma) * ((1 - beta1) ^ 2 / (1 - gamma)) * s / nu <= c0 / 4).

Lemma preconditioned_total t : forall n wp w m v,
  state d alpha beta1 beta2 nu gamma n wp w m v ->
  norm_test_run d alpha beta1 beta2 eta gradF n w m v t ->
  c0 / 4 * E t (run_sum alpha beta1 beta2 (preconditioned d beta2 gradF) w m v)
  <= potential d F gradF gamma q c0 kappa wp w m v - Fstar.
Proof.
  destruct (gamma_facts alpha beta1 beta2 eta gamma s q c0 Ha Hb1 Hb2 Hgamma Hgamma1 Hs Hq Hc0)
    as (Hr & Hrr & Hg0 & Hg2 & Hk & Hs1 & Hq0 & Hc00).
  induction t as [|B k p g next IH]; intros n wp w m v Hst Hrun.
  - simpl. unfold potential. specialize (HF (look_ahead gamma wp w)).
    assert (0 <= c0 * q * sum d (fun i => gradF wp i ^ 2 / sqrt (v i))).
    { apply Rmult_le_pos; [apply Rmult_le_pos; lra|]. apply sum_nonneg. intros i Hi.
      destruct (proj2 Hst i Hi) as (Hv & _ & _).
      apply Rmult_le_pos; [apply pow2_ge_0 | left; apply Rinv_0_lt_compat; apply sqrt_lt_R0; exact Hv]. }
    assert (0 <= kappa * norm_sq d (ratio m v)).
    { apply Rmult_le_pos; [exact Hkappa0 | apply sum_nonneg; intros; apply pow2_ge_0]. }
    lra.
  - simpl in Hrun. destruct n as [|n]; [contradiction|]. destruct Hrun as (Hd & Hub & Htest & Hn).
    rewrite E_run_sum; [|exact Hd|].
    2:{ intros j Hj. exact (norm_test_run_probability _ _ _ _ _ _ _ _ _ _ _ (Hn j Hj)). }
    assert (Hstep := potential_step d alpha beta1 beta2 eta L nu F gradF gamma s q c0 kappa
      Ha Hb1 Hb2 HL Hnu Hgamma Hgamma1 Hs Hq Hc0 HC Hsm Hlip Hkappa Hkappa0 Hclose
      n wp w m v k p g Hst Hd Hub Htest).
    fold (preconditioned d beta2 gradF w v) in Hstep.
    rewrite Rmult_plus_distr_l, <- mean_scal.
    assert (Hrest : mean k p (fun j => c0 / 4 *
        (let m' := m_step beta1 m (g j) in let v' := v_step beta2 v (g j) in
         E (next j) (run_sum alpha beta1 beta2 (preconditioned d beta2 gradF)
           (w_step alpha w m' v') m' v')))
      <= mean k p (fun j =>
        let m' := m_step beta1 m (g j) in let v' := v_step beta2 v (g j) in
        potential d F gradF gamma q c0 kappa w (w_step alpha w m' v') m' v') - Fstar).
    { rewrite <- (mean_const k p Fstar) at 1 by exact Hd. rewrite <- mean_minus.
      apply mean_le; [exact Hd|]. intros j Hj. cbv zeta. apply (IH j n); [|apply Hn; exact Hj].
      apply (state_step d alpha beta1 beta2 eta nu gamma s q c0 Ha Hb1 Hb2 Hgamma Hgamma1
               Hs Hq Hc0 n wp w m v (g j) Hst). }
    lra.
Qed.

(** [1 + sqrt beta2 + ... ], [n] terms. *)
Fixpoint geometric (n : nat) : R :=
  match n with O => 0 | S k => 1 + sqrt beta2 * geometric k end.

Lemma geometric_bounds n : 0 <= geometric n /\ (1 - sqrt beta2) * geometric n <= 1 /\ geometric n <= INR n.
Proof.
  assert (Hr := sqrt_pos beta2).
  assert (Hr1 : sqrt beta2 < 1) by (rewrite <- sqrt_1; apply sqrt_lt_1; lra).
  induction n as [|n (H0 & H1 & H2)]; [simpl; lra|].
  rewrite S_INR. cbn [geometric].
  assert (0 <= sqrt beta2 * geometric n) by (apply Rmult_le_pos; lra).
  assert (sqrt beta2 * geometric n <= 1 * geometric n) by (apply Rmult_le_compat_r; lra).
  assert (sqrt beta2 * ((1 - sqrt beta2) * geometric n) <= sqrt beta2 * 1)
    by (apply Rmult_le_compat_l; lra).
  repeat split; lra.
Qed.

Lemma root_total t : forall n wp w m v,
  state d alpha beta1 beta2 nu gamma n wp w m v ->
  norm_test_run d alpha beta1 beta2 eta gradF n w m v t ->
  E t (run_sum alpha beta1 beta2 (root_sum d beta2) w m v)
  <= geometric n * root_sum d beta2 w v
     + s * E t (run_sum alpha beta1 beta2 (preconditioned d beta2 gradF) w m v).
Proof.
  destruct (gamma_facts alpha beta1 beta2 eta gamma s q c0 Ha Hb1 Hb2 Hgamma Hgamma1 Hs Hq Hc0)
    as (Hr & Hrr & Hg0 & Hg2 & Hk & Hs1 & Hq0 & Hc00).
  induction t as [|B k p g next IH]; intros n wp w m v Hst Hrun.
  - simpl. assert (Hg := proj1 (geometric_bounds n)).
    assert (0 <= root_sum d beta2 w v) by (apply sum_nonneg; intros; apply sqrt_pos).
    assert (0 <= geometric n * root_sum d beta2 w v) by (apply Rmult_le_pos; assumption). lra.
  - simpl in Hrun. destruct n as [|n]; [contradiction|]. destruct Hrun as (Hd & Hub & Htest & Hn).
    assert (Hp : forall j, (j < k)%nat -> probability (next j)).
    { intros j Hj. exact (norm_test_run_probability _ _ _ _ _ _ _ _ _ _ _ (Hn j Hj)). }
    rewrite !E_run_sum by assumption. cbv zeta.
    set (S0 := preconditioned d beta2 gradF w v). set (T0 := root_sum d beta2 w v).
    destruct (geometric_bounds n) as (Hn0 & Hn1 & _).
    (* the mean of the next roots *)
    assert (Hroot : mean k p (fun j => root_sum d beta2
        (w_step alpha w (m_step beta1 m (g j)) (v_step beta2 v (g j))) (v_step beta2 v (g j)))
      <= sqrt beta2 * (T0 + (1 - beta2) * s / 2 * S0)).
    { unfold root_sum at 1. rewrite mean_sum. unfold T0, S0, root_sum, preconditioned.
      rewrite <- (sum_scal d ((1 - beta2) * s / 2)), <- sum_plus, <- sum_scal.
      apply sum_le. intros i Hi. destruct (proj2 Hst i Hi) as (Hv & _ & _).
      assert (Hbv : 0 < beta2 * v i) by (apply Rmult_lt_0_compat; lra).
      destruct (sqrt_sq_pos _ Hbv) as [HQ HQQ]. set (Q := sqrt (beta2 * v i)) in *.
      apply Rle_trans with (mean k p (fun j => sqrt beta2 * (Q + (1 - beta2) / (2 * Q) * g j i ^ 2))).
      - apply mean_le; [exact Hd|]. intros j _.
        assert (Hsq := pow2_ge_0 (g j i)).
        assert (Heg : 0 <= (1 - beta2) * g j i ^ 2) by (apply Rmult_le_pos; lra).
        assert (Hv' : 0 < v_step beta2 v (g j) i) by (unfold v_step; lra).
        rewrite sqrt_mult by lra. apply Rmult_le_compat_l; [lra|].
        assert (Hx : 0 <= (1 - beta2) / (2 * Q) * g j i ^ 2).
        { apply Rmult_le_pos; [|exact Hsq]. left. apply Rdiv_lt_0_compat; lra. }
        rewrite <- (sqrt_pow2 (Q + (1 - beta2) / (2 * Q) * g j i ^ 2)) by lra.
        apply sqrt_le_1_alt. unfold v_step.
        replace ((Q + (1 - beta2) / (2 * Q) * g j i ^ 2) ^ 2)
          with (Q * Q + (1 - beta2) * g j i ^ 2 + ((1 - beta2) / (2 * Q) * g j i ^ 2) ^ 2)
          by (field; lra).
        rewrite HQQ. assert (Hp2 := pow2_ge_0 ((1 - beta2) / (2 * Q) * g j i ^ 2)). lra.
      - rewrite mean_scal, mean_plus, mean_const, mean_scal by exact Hd.
        apply Rmult_le_compat_l; [lra|]. apply Rplus_le_compat_l.
        assert (Hm2 : mean k p (fun j => g j i ^ 2) <= s * gradF w i ^ 2).
        { specialize (Htest i Hi). set (G := gradF w i) in *.
          rewrite (mean_ext k p (fun j => (g j i - G) ^ 2)
                     (fun j => g j i ^ 2 + (- (2 * G) * g j i + G ^ 2))) in Htest by (intros; ring).
          rewrite mean_plus, mean_plus, mean_scal, mean_const, Hub in Htest by assumption.
          fold G in Htest. rewrite Hs. lra. }
        assert (Hf : 0 <= (1 - beta2) / (2 * Q)) by (left; apply Rdiv_lt_0_compat; lra).
        apply (Rmult_le_compat_l _ _ _ Hf) in Hm2. apply Rle_trans with (1 := Hm2).
        right. field. lra. }
    assert (Hrest : mean k p (fun j => E (next j) (run_sum alpha beta1 beta2 (root_sum d beta2)
          (w_step alpha w (m_step beta1 m (g j)) (v_step beta2 v (g j)))
          (m_step beta1 m (g j)) (v_step beta2 v (g j))))
      <= geometric n * mean k p (fun j => root_sum d beta2
            (w_step alpha w (m_step beta1 m (g j)) (v_step beta2 v (g j))) (v_step beta2 v (g j)))
         + s * mean k p (fun j => E (next j) (run_sum alpha beta1 beta2 (preconditioned d beta2 gradF)
          (w_step alpha w (m_step beta1 m (g j)) (v_step beta2 v (g j)))
          (m_step beta1 m (g j)) (v_step beta2 v (g j))))).
    { rewrite <- !mean_scal, <- mean_plus. apply mean_le; [exact Hd|]. intros j Hj.
      apply (IH j n w); [|apply Hn; exact Hj].
      apply (state_step d alpha beta1 beta2 eta nu gamma s q c0 Ha Hb1 Hb2 Hgamma Hgamma1
               Hs Hq Hc0 n wp w m v (g j) Hst). }
    apply (Rmult_le_compat_l _ _ _ Hn0) in Hroot.
    assert (HS0 : 0 <= S0).
    { apply sum_nonneg. intros i Hi. destruct (proj2 Hst i Hi) as (Hv & _ & _).
      apply Rmult_le_pos; [apply pow2_ge_0 | left; apply Rinv_0_lt_compat; apply sqrt_lt_R0].
      apply Rmult_lt_0_compat; lra. }
    (* geometric n sqrt beta2 (1 - beta2) s / 2 <= s *)
    assert (Hsum : geometric n * (sqrt beta2 * ((1 - beta2) * s / 2 * S0)) <= s * S0).
    { set (r := sqrt beta2) in *. set (gn := geometric n) in *.
      replace (gn * (r * ((1 - beta2) * s / 2 * S0)))
        with (r * (1 + r) / 2 * ((1 - r) * gn) * (s * S0)) by (rewrite <- Hrr; field).
      rewrite <- (Rmult_1_l (s * S0)) at 2.
      apply Rmult_le_compat_r; [apply Rmult_le_pos; lra|].
      assert (H0 : 0 <= (1 - r) * gn) by (apply Rmult_le_pos; lra).
      assert (H1 : 0 <= r * (1 + r) / 2 <= 1) by nra. nra. }
    cbn [geometric]. rewrite !Rmult_plus_distr_l in *. rewrite !Rmult_plus_distr_r.
    rewrite Rmult_1_l. lra.
Qed.

End Tree.

(** From [2 x <= mu S + T / mu] for every [mu]. *)
Lemma square_le_product x S T :
  0 <= x -> 0 <= S -> 0 <= T -> (forall mu, 0 < mu -> 2 * x <= mu * S + T / mu) -> x ^ 2 <= S * T.
Proof.
  intros Hx HS HT H.
  destruct (Rle_lt_or_eq_dec 0 x Hx) as [Hx0 | <-].
  2:{ replace (0 ^ 2) with 0 by ring. apply Rmult_le_pos; assumption. }
  destruct (Rle_lt_or_eq_dec 0 S HS) as [HS0 | <-].
  - assert (HT0 : 0 < T).
    { destruct (Rle_lt_or_eq_dec 0 T HT) as [HT0 | <-]; [exact HT0|].
      specialize (H (x / S) ltac:(apply Rdiv_lt_0_compat; assumption)).
      replace (x / S * S + 0 / (x / S)) with x in H by (field; lra). lra. }
    specialize (H (x / S) ltac:(apply Rdiv_lt_0_compat; assumption)).
    replace (x / S * S + T / (x / S)) with (x + S * T / x) in H by (field; lra).
    assert (Hle : x <= S * T / x) by lra.
    apply (Rmult_le_compat_r x) in Hle; [|lra].
    replace (S * T / x * x) with (S * T) in Hle by (field; lra). lra.
  - specialize (H ((T + 1) / x) ltac:(apply Rdiv_lt_0_compat; lra)).
    replace ((T + 1) / x * 0 + T / ((T + 1) / x)) with (x * (T / (T + 1))) in H by (field; lra).
    assert (Hq : T / (T + 1) <= 1) by (apply (Rmult_le_reg_r (T + 1)); [lra | field_simplify; lra]).
    nra.
Qed.

(** Adam under the coordinate-wise norm test.  The sum of the preconditioned gradients is
    bounded by its start, and with it the 1-norms.  [n] bounds the number of steps, [nu] is at
    most [beta2^(n/2) min_i sqrt v_i]. *)
Theorem adam_norm_test :
  forall (d : nat) (alpha beta1 beta2 eta L nu : R) (F : vec -> R) (gradF : vec -> vec) (Fstar : R)
         (n : nat) (w0 v0 : vec) (t : tree),
  let gamma := beta1 / sqrt beta2 in
  let s := 1 + eta ^ 2 in
  let q := s / (1 - gamma ^ 2) in
  let S0 := 4 * (1 - gamma) * (F w0 - Fstar) / (alpha * (1 - beta1))
            + 4 * q * sum d (fun i => gradF w0 i ^ 2 / sqrt (v0 i)) in
  0 < alpha -> 0 <= beta1 < 1 -> 0 < beta2 < 1 -> beta1 < sqrt beta2 -> 0 <= L -> 0 < nu ->
  gradient d F gradF -> lipschitz_gradient d L gradF -> (forall x, Fstar <= F x) ->
  (forall i, (i < d)%nat -> 0 < v0 i /\ nu ^ 2 <= beta2 ^ n * v0 i) ->
  q * (1 - sqrt beta2) <= 1 / 8 ->
  alpha * (4 * s * L * (1 - beta1) * (1 + gamma) * (1 + 3 * gamma)) <= nu * (1 - gamma) ^ 3 ->
  alpha ^ 2 * (64 * q ^ 2 * sqrt beta2 * s * L ^ 2 * (1 - beta1) ^ 2) <= nu ^ 2 * (1 - gamma) ^ 2 ->
  norm_test_run d alpha beta1 beta2 eta gradF n w0 zero_vec v0 t ->
  E t (run_sum alpha beta1 beta2 (preconditioned d beta2 gradF) w0 zero_vec v0) <= S0
  /\ E t (run_sum alpha beta1 beta2 (norm_1 d gradF) w0 zero_vec v0) ^ 2
     <= S0 * (Rmin (INR n) (sqrt beta2 / (1 - sqrt beta2)) * sum d (fun i => sqrt (v0 i)) + s * S0).
Proof.
  intros d alpha beta1 beta2 eta L nu F gradF Fstar n w0 v0 t gamma s q S0
    Ha Hb1 Hb2 Hb12 HL Hnu HFg Hlip HF Hv0 HC HA1 HA2 Hrun.
  assert (Hsm := smooth_of_lipschitz_gradient d L F gradF HL HFg Hlip).
  destruct (sqrt_sq_pos beta2 (proj1 Hb2)) as [Hr Hrr].
  assert (Hr1 : sqrt beta2 < 1) by (rewrite <- sqrt_1; apply sqrt_lt_1; lra).
  assert (Hgamma : gamma * sqrt beta2 = beta1) by (unfold gamma; field; lra).
  assert (Hgamma1 : gamma < 1).
  { apply (Rmult_lt_reg_r (sqrt beta2)); [exact Hr|]. rewrite Hgamma. lra. }
  set (c0 := alpha * (1 - beta1) / (1 - gamma)).
  destruct (gamma_facts alpha beta1 beta2 eta gamma s q c0 Ha Hb1 Hb2 Hgamma Hgamma1
              eq_refl eq_refl eq_refl)
    as (_ & _ & Hg0 & Hg2 & Hk & Hs1 & Hq0 & Hc00).
  set (Ao := coef_old alpha L gamma). set (An := coef_new alpha L gamma).
  set (Aa := coef_abel alpha beta2 L nu q c0).
  assert (HLa : 0 <= L * alpha ^ 2) by (apply Rmult_le_pos; [lra | apply pow2_ge_0]).
  assert (H1g : 0 < (1 - gamma) ^ 2) by (apply pow_lt; lra).
  assert (HAo : 0 <= Ao).
  { unfold Ao, coef_old. apply Rmult_le_pos; [|left; apply Rinv_0_lt_compat; lra].
    apply Rmult_le_pos; [exact HLa | assert (Hgg := pow2_ge_0 gamma); lra]. }
  assert (HAn : 0 <= An).
  { unfold An, coef_new. apply Rmult_le_pos; [|left; apply Rinv_0_lt_compat; lra].
    apply Rmult_le_pos; [exact HLa | lra]. }
  assert (HAa : 0 <= Aa).
  { unfold Aa, coef_abel. apply Rmult_le_pos; [lra|].
    apply Rmult_le_pos; [|left; apply Rinv_0_lt_compat; exact Hnu].
    apply Rmult_le_pos; [|apply pow2_ge_0]. apply Rmult_le_pos; [|apply pow2_ge_0].
    apply Rmult_le_pos; [|lra]. apply Rmult_le_pos; [lra | apply pow2_ge_0]. }
  set (kappa := (Ao + Aa + An * gamma) / (1 - gamma)).
  assert (Hkappa : kappa = Ao + Aa + (kappa + An) * gamma) by (unfold kappa; field; lra).
  assert (Hkappa0 : 0 <= kappa).
  { unfold kappa. apply Rmult_le_pos; [|left; apply Rinv_0_lt_compat; lra].
    assert (0 <= An * gamma) by (apply Rmult_le_pos; assumption). lra. }
  assert (HkA : kappa + An = (Ao + Aa + An) / (1 - gamma)) by (unfold kappa; field; lra).
  assert (Hclose : (kappa + An) * ((1 - beta1) ^ 2 / (1 - gamma)) * s / nu <= c0 / 4).
  { rewrite HkA.
    set (b := 1 - beta1) in *. set (e := 1 - gamma) in *.
    assert (He : 0 < e) by (unfold e; lra). assert (Hb : 0 < b) by (unfold b; lra).
    assert (P1 : (Ao + An) / e * (b ^ 2 / e) * s / nu <= c0 / 8).
    { replace (Ao + An) with (L * alpha ^ 2 * ((1 + gamma) * (1 + 3 * gamma)) / (2 * e ^ 2))
        by (unfold Ao, An, coef_old, coef_new; fold e; field; lra).
      apply (Rmult_le_reg_r (8 * nu * e ^ 4 / (alpha * b))).
      { apply Rdiv_lt_0_compat; [|apply Rmult_lt_0_compat; lra].
        apply Rmult_lt_0_compat; [lra | apply pow_lt; lra]. }
      replace (L * alpha ^ 2 * ((1 + gamma) * (1 + 3 * gamma)) / (2 * e ^ 2) / e * (b ^ 2 / e) * s / nu
               * (8 * nu * e ^ 4 / (alpha * b)))
        with (alpha * (4 * s * L * b * (1 + gamma) * (1 + 3 * gamma))) by (field; lra).
      replace (c0 / 8 * (8 * nu * e ^ 4 / (alpha * b))) with (nu * e ^ 3)
        by (unfold c0; fold b e; field; lra).
      exact HA1. }
    assert (P2 : Aa / e * (b ^ 2 / e) * s / nu <= c0 / 8).
    { unfold Aa, coef_abel.
      apply (Rmult_le_reg_r (8 * nu ^ 2 * e ^ 2 / c0)).
      { apply Rdiv_lt_0_compat; [|exact Hc00].
        apply Rmult_lt_0_compat; [|apply pow_lt; lra]. assert (0 < nu ^ 2) by (apply pow_lt; lra). lra. }
      replace (c0 * (8 * q ^ 2 * sqrt beta2 * L ^ 2 * alpha ^ 2 / nu) / e * (b ^ 2 / e) * s / nu
               * (8 * nu ^ 2 * e ^ 2 / c0))
        with (alpha ^ 2 * (64 * q ^ 2 * sqrt beta2 * s * L ^ 2 * b ^ 2)) by (field; lra).
      replace (c0 / 8 * (8 * nu ^ 2 * e ^ 2 / c0)) with (nu ^ 2 * e ^ 2) by (field; lra).
      exact HA2. }
    replace ((Ao + Aa + An) / e * (b ^ 2 / e) * s / nu)
      with ((Ao + An) / e * (b ^ 2 / e) * s / nu + Aa / e * (b ^ 2 / e) * s / nu) by (field; lra).
    lra. }
  (* the start *)
  assert (Hst : state d alpha beta1 beta2 nu gamma n w0 w0 zero_vec v0).
  { split.
    - intros i. unfold ratio, zero_vec, Rdiv. ring.
    - intros i Hi. destruct (Hv0 i Hi) as [Hv Hnv]. repeat split; try assumption.
      unfold zero_vec. replace (0 ^ 2) with 0 by ring. apply Rmult_le_pos; [|lra].
      apply Rmult_le_pos; [apply pow2_ge_0 | left; apply Rinv_0_lt_compat; nra]. }
  assert (Hp := norm_test_run_probability _ _ _ _ _ _ _ _ _ _ _ Hrun).
  assert (HS : E t (run_sum alpha beta1 beta2 (preconditioned d beta2 gradF) w0 zero_vec v0) <= S0).
  { assert (H := preconditioned_total d alpha beta1 beta2 eta L nu Fstar F gradF gamma s q c0 kappa
      Ha Hb1 Hb2 HL Hnu Hgamma Hgamma1 eq_refl eq_refl eq_refl HC Hsm Hlip HF Hkappa Hkappa0 Hclose
      t n w0 w0 zero_vec v0 Hst Hrun).
    unfold potential in H.
    replace (look_ahead gamma w0 w0) with w0 in H
      by (apply functional_extensionality; intros i; unfold look_ahead; field; lra).
    replace (norm_sq d (ratio zero_vec v0)) with 0 in H.
    2:{ unfold norm_sq. rewrite (sum_ext d _ (fun _ => 0)); [rewrite sum_const; ring|].
        intros i _. unfold ratio, zero_vec, Rdiv. ring. }
    apply (Rmult_le_compat_l (4 / c0)) in H; [|left; apply Rdiv_lt_0_compat; lra].
    rewrite <- Rmult_assoc in H. replace (4 / c0 * (c0 / 4)) with 1 in H by (field; lra).
    rewrite Rmult_1_l in H. apply Rle_trans with (1 := H). right. unfold S0.
    replace (4 * (1 - gamma) * (F w0 - Fstar) / (alpha * (1 - beta1)))
      with (4 / c0 * (F w0 - Fstar)) by (unfold c0; field; lra).
    field. lra. }
  split; [exact HS|].
  (* the roots *)
  set (ES := E t (run_sum alpha beta1 beta2 (preconditioned d beta2 gradF) w0 zero_vec v0)) in *.
  set (ET := E t (run_sum alpha beta1 beta2 (root_sum d beta2) w0 zero_vec v0)).
  set (EN := E t (run_sum alpha beta1 beta2 (norm_1 d gradF) w0 zero_vec v0)).
  set (V := sum d (fun i => sqrt (v0 i))).
  assert (HV : 0 <= V) by (apply sum_nonneg; intros; apply sqrt_pos).
  assert (HT : ET <= Rmin (INR n) (sqrt beta2 / (1 - sqrt beta2)) * V + s * ES).
  { assert (H := root_total d alpha beta1 beta2 eta nu gradF gamma s q c0
      Ha Hb1 Hb2 Hgamma Hgamma1 eq_refl eq_refl eq_refl t n w0 w0 zero_vec v0 Hst Hrun).
    fold ES ET in H. apply Rle_trans with (1 := H). apply Rplus_le_compat_r.
    replace (root_sum d beta2 w0 v0) with (sqrt beta2 * V).
    2:{ unfold V, root_sum. rewrite <- sum_scal. apply sum_ext. intros i Hi.
        destruct (Hv0 i Hi) as [Hv _]. rewrite sqrt_mult by lra. reflexivity. }
    rewrite <- Rmult_assoc. apply Rmult_le_compat_r; [exact HV|].
    destruct (geometric_bounds beta2 Hb2 n) as (G0 & G1 & G2).
    apply Rmin_glb.
    - assert (geometric beta2 n * sqrt beta2 <= geometric beta2 n * 1)
        by (apply Rmult_le_compat_l; lra). lra.
    - apply (Rmult_le_reg_r (1 - sqrt beta2)); [lra|].
      replace (sqrt beta2 / (1 - sqrt beta2) * (1 - sqrt beta2)) with (1 * sqrt beta2) by (field; lra).
      replace (geometric beta2 n * sqrt beta2 * (1 - sqrt beta2))
        with ((1 - sqrt beta2) * geometric beta2 n * sqrt beta2) by ring.
      apply Rmult_le_compat_r; [lra | exact G1]. }
  (* Cauchy-Schwarz over the whole run *)
  assert (Hpos : forall f, (forall w v, (forall i, (i < d)%nat -> 0 < v i) -> 0 <= f w v) ->
    forall u n wp w m v, state d alpha beta1 beta2 nu gamma n wp w m v ->
    norm_test_run d alpha beta1 beta2 eta gradF n w m v u ->
    0 <= E u (run_sum alpha beta1 beta2 f w m v)).
  { intros f Hf.
    induction u as [|B k p g next IH]; intros n' wp w m v Hst' Hrun'; [simpl; lra|].
    simpl in Hrun'. destruct n' as [|n']; [contradiction|]. destruct Hrun' as (Hd & _ & _ & Hn).
    rewrite E_run_sum; [|exact Hd|].
    2:{ intros j Hj. exact (norm_test_run_probability _ _ _ _ _ _ _ _ _ _ _ (Hn j Hj)). }
    apply Rplus_le_le_0_compat.
    - apply Hf. intros i Hi. destruct (proj2 Hst' i Hi) as (Hv & _ & _). exact Hv.
    - apply mean_nonneg; [exact Hd|]. intros j Hj. cbv zeta. apply (IH j n' w); [|apply Hn; exact Hj].
      apply (state_step d alpha beta1 beta2 eta nu gamma s q c0 Ha Hb1 Hb2 Hgamma Hgamma1
               eq_refl eq_refl eq_refl n' wp w m v (g j) Hst'). }
  assert (Hpre : forall w v, (forall i, (i < d)%nat -> 0 < v i) -> 0 <= preconditioned d beta2 gradF w v).
  { intros w v Hv. apply sum_nonneg. intros i Hi.
    apply Rmult_le_pos; [apply pow2_ge_0 | left; apply Rinv_0_lt_compat; apply sqrt_lt_R0].
    apply Rmult_lt_0_compat; [lra | apply Hv; exact Hi]. }
  assert (HES0 : 0 <= ES) by (apply (Hpos _ Hpre t n w0 w0 zero_vec v0 Hst Hrun)).
  assert (HET0 : 0 <= ET).
  { apply (Hpos (root_sum d beta2)) with (n := n) (wp := w0); try assumption.
    intros w v _. apply sum_nonneg. intros; apply sqrt_pos. }
  assert (HEN0 : 0 <= EN).
  { apply (Hpos (norm_1 d gradF)) with (n := n) (wp := w0); try assumption.
    intros w v _. apply sum_nonneg. intros; apply Rabs_pos. }
  assert (Hcs : forall mu, 0 < mu -> 2 * EN <= mu * ES + ET / mu).
  { intros mu Hmu.
    assert (H : forall w v, (forall i, (i < d)%nat -> 0 < v i) ->
      0 <= mu * preconditioned d beta2 gradF w v + / mu * root_sum d beta2 w v - 2 * norm_1 d gradF w v).
    { intros w v Hv. unfold preconditioned, root_sum, norm_1.
      rewrite <- !sum_scal, <- sum_plus, <- sum_minus. apply sum_nonneg. intros i Hi.
      assert (Hbv : 0 < beta2 * v i) by (apply Rmult_lt_0_compat; [lra | apply Hv; exact Hi]).
      destruct (sqrt_sq_pos _ Hbv) as [HQ _]. set (Q := sqrt (beta2 * v i)) in *.
      rewrite <- (pow2_abs (gradF w i)).
      replace (mu * (Rabs (gradF w i) ^ 2 / Q) + / mu * Q - 2 * Rabs (gradF w i))
        with ((mu * Rabs (gradF w i) - Q) ^ 2 / (mu * Q)) by (field; lra).
      apply Rmult_le_pos; [apply pow2_ge_0 | left; apply Rinv_0_lt_compat; nra]. }
    assert (Hlin : forall u w m v,
      E u (run_sum alpha beta1 beta2 (fun w v => mu * preconditioned d beta2 gradF w v
             + / mu * root_sum d beta2 w v - 2 * norm_1 d gradF w v) w m v)
      = mu * E u (run_sum alpha beta1 beta2 (preconditioned d beta2 gradF) w m v)
        + / mu * E u (run_sum alpha beta1 beta2 (root_sum d beta2) w m v)
        - 2 * E u (run_sum alpha beta1 beta2 (norm_1 d gradF) w m v)).
    { intros u w m v.
      rewrite (E_ext u _ (fun path =>
        mu * run_sum alpha beta1 beta2 (preconditioned d beta2 gradF) w m v path
        + (/ mu * run_sum alpha beta1 beta2 (root_sum d beta2) w m v path
           + -2 * run_sum alpha beta1 beta2 (norm_1 d gradF) w m v path))).
      - rewrite !E_plus, !E_scal.
        change (fun path => run_sum alpha beta1 beta2 (preconditioned d beta2 gradF) w m v path)
          with (run_sum alpha beta1 beta2 (preconditioned d beta2 gradF) w m v).
        change (fun path => run_sum alpha beta1 beta2 (root_sum d beta2) w m v path)
          with (run_sum alpha beta1 beta2 (root_sum d beta2) w m v).
        change (fun path => run_sum alpha beta1 beta2 (norm_1 d gradF) w m v path)
          with (run_sum alpha beta1 beta2 (norm_1 d gradF) w m v). ring.
      - intros path _. revert w m v. induction path as [|[B g] path IH]; intros w m v; simpl; [ring|].
        rewrite IH. ring. }
    assert (H0 := Hpos _ H t n w0 w0 zero_vec v0 Hst Hrun). rewrite Hlin in H0.
    fold ES ET EN in H0. unfold Rdiv. lra. }
  apply Rle_trans with (1 := square_le_product EN ES ET HEN0 HES0 HET0 Hcs).
  apply Rmult_le_compat; try assumption.
  apply Rle_trans with (1 := HT). apply Rplus_le_compat_l. apply Rmult_le_compat_l; [lra | exact HS].
Qed.
